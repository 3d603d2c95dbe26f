// On every page, before the first paint: says that script runs, and holds what the other scripts share.
"use strict";
document.documentElement.classList.add("js");

const minus = {
  root: document.documentElement.dataset.root,

  /** Make an element; texts go in as text, never as markup. */
  el(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in element) element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  },

  /** Say a short text on the page, to eyes and screen readers. */
  say(text, trouble = false) {
    const place = document.getElementById("say");
    place.classList.toggle("trouble", trouble);
    place.textContent = "";
    requestAnimationFrame(() => { place.textContent = text; });
    clearTimeout(minus.hush);
    minus.hush = setTimeout(() => { place.textContent = ""; }, trouble ? 10000 : 4000);
  },

  /** POST fields as a form does and read the JSON answer. Throws an Error with words for the user. */
  async post(url, fields) {
    const answer = await fetch(url, {
      method: "POST", body: new URLSearchParams(fields), headers: { Accept: "application/json" },
    }).catch(() => { throw new Error("The service cannot be reached."); });
    const body = await answer.json().catch(() => ({ error: "no_json" }));
    if (!answer.ok || body.error) {
      throw new Error(body.error_description || `The service answered ${answer.status}.`);
    }
    return body;
  },

  /** Ask before something that cannot be undone. -> Promise of a boolean */
  confirm(words, button) {
    const yes = minus.el("button", { className: "dangerous", value: "yes" }, button);
    const no = minus.el("button", { value: "no", autofocus: true }, "Cancel");
    const text = minus.el("p", { id: "ask-words" }, words);
    const dialog = minus.el("dialog", { className: "ask", "aria-labelledby": "ask-words" },
      minus.el("form", { method: "dialog" }, text, minus.el("div", { className: "actions" }, yes, no)));
    document.body.append(dialog);
    dialog.showModal();
    return new Promise((resolve) => dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes");
      dialog.remove();
    }));
  },

  async copy(text, button) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // No clipboard without HTTPS; the old way still works there.
      const area = minus.el("textarea", { value: text, className: "sr-only" });
      document.body.append(area);
      area.select();
      const copied = document.execCommand("copy");
      area.remove();
      button.focus();
      if (!copied) return minus.say("Could not copy; select the text and copy it by hand.", true);
    }
    minus.say("Copied.");
  },
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy], [data-copy-from]");
  if (!button) return;
  minus.copy(button.dataset.copy ?? document.getElementById(button.dataset.copyFrom).value, button);
});

document.addEventListener("focusin", (event) => {
  if (event.target.matches("[data-select]")) event.target.select();
});

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.confirm) return;
  event.preventDefault();
  if (await minus.confirm(form.dataset.confirm, form.dataset.confirmButton)) form.submit();
});
