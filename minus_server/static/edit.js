// For who may edit a gallery: everything is saved in place. Without script the same forms are plain posts.
const { el, post, say } = minus;
const list = document.getElementById("items");
const trouble = (error) => say(error.message, true);

// --- title and captions: saved when changed ---

for (const form of document.querySelectorAll("[data-autosave]")) {
  const field = form.querySelector("input:not([type=hidden])");
  let saved = field.value;
  const save = async () => {
    const value = field.value;
    if (value === saved) return;
    const before = saved;
    saved = value;
    try {
      await post(form.action, new FormData(form));
      const tile = form.closest("li");
      if (tile) tile.dataset.caption = value;
      else {
        const name = document.getElementById("gallery-name").textContent = value || field.placeholder;
        document.title = `${name} · minus`;
      }
      say("Saved.");
    } catch (error) {
      saved = before;
      trouble(error);
    }
  };
  field.addEventListener("change", save);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") field.value = saved;
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    save();
  });
}

// --- public or private ---

const visibility = document.getElementById("visibility");
visibility?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = visibility.querySelector("button");
  const open = button.value === "true";
  try {
    await post(visibility.action, { is_public: button.value });
    visibility.dataset.public = button.value;
    button.value = String(!open);
    button.textContent = open ? "Make private" : "Make public";
    button.title = open ? "Now public: listed on your page" : "Now private: only who has the link";
    say(button.title + ".");
  } catch (error) { trouble(error); }
});

// --- order ---

const tiles = () => [...list.children];
const total = () => Number(list.dataset.total);

function renumber() {
  const first = Number(list.dataset.first);
  tiles().forEach((tile, place) => {
    const index = first + place;
    tile.dataset.index = index;
    for (const button of tile.querySelectorAll("[data-step]")) {
      const to = index + Number(button.dataset.step);
      const possible = to >= 0 && to < total();
      button.value = possible ? to : index;
      if (possible) button.removeAttribute("aria-disabled");
      else button.setAttribute("aria-disabled", "true");
    }
  });
}

function put(tile, place) {
  const others = tiles().filter((each) => each !== tile);
  list.insertBefore(tile, others[place] ?? null);
  renumber();
}

/** Bring a tile to a place of the whole gallery, here first, then on the service. */
async function move(tile, to) {
  const from = Number(tile.dataset.index);
  if (to < 0 || to >= total() || to === from) return;
  const first = Number(list.dataset.first);
  const here = to >= first && to < first + tiles().length;
  const focused = document.activeElement;
  if (here) {
    put(tile, to - first);
    if (tile.contains(focused)) focused.focus();
    tile.scrollIntoView({ block: "nearest" });
  }
  try {
    await post(tile.querySelector("[data-move]").action, { item: tile.dataset.item, to });
    if (!here) location.reload();
    say(`${tile.dataset.name} is now ${to + 1} of ${total()}.`);
  } catch (error) {
    if (here) put(tile, from - first);
    trouble(error);
  }
}

function drag() {
  let held; // { tile, x, y, id, timer, ghost, mark }

  const release = () => {
    if (!held) return;
    clearTimeout(held.timer);
    cancelAnimationFrame(held.scroll);
    held.ghost?.remove();
    held.tile.classList.remove("lifted");
    held.target?.classList.remove("drop-before", "drop-after");
    document.documentElement.classList.remove("sorting");
    held = undefined;
  };

  const lift = () => {
    held.ghost = el("div", { className: "ghost", "aria-hidden": "true" },
      held.tile.querySelector("img, svg").cloneNode(true));
    document.body.append(held.ghost);
    held.tile.classList.add("lifted");
    document.documentElement.classList.add("sorting");
    navigator.vibrate?.(10);
    const roll = () => { // near an edge the page moves along
      const reach = 70;
      const speed = held.y < reach ? held.y - reach : Math.max(0, held.y - innerHeight + reach);
      if (speed) { scrollBy(0, speed / 4); aim(); }
      held.scroll = requestAnimationFrame(roll);
    };
    roll();
  };

  const aim = () => {
    held.ghost.style.transform = `translate(${held.x}px, ${held.y}px)`;
    const target = document.elementFromPoint(held.x, held.y)?.closest("#items > li");
    held.target?.classList.remove("drop-before", "drop-after");
    held.target = undefined;
    if (!target || target === held.tile) return;
    const box = target.getBoundingClientRect();
    held.after = target.matches(".row") ? held.y > box.top + box.height / 2 : held.x > box.left + box.width / 2;
    held.target = target;
    target.classList.add(held.after ? "drop-after" : "drop-before");
  };

  list.addEventListener("pointerdown", (event) => {
    const link = event.target.closest("a.open");
    if (!link || event.button || !event.isPrimary) return;
    held = { tile: link.closest("li"), x: event.clientX, y: event.clientY, id: event.pointerId, touch: event.pointerType === "touch" };
    if (held.touch) held.timer = setTimeout(() => { lift(); aim(); }, 400);
  });
  addEventListener("pointermove", (event) => {
    if (!held || event.pointerId !== held.id) return;
    const far = Math.hypot(event.clientX - held.x, event.clientY - held.y) > 8;
    if (!held.ghost) {
      if (!far) return;
      if (held.touch) return release(); // a swipe: the page scrolls
      lift();
    }
    held.x = event.clientX;
    held.y = event.clientY;
    aim();
  });
  addEventListener("pointerup", (event) => {
    if (!held || event.pointerId !== held.id) return;
    const { ghost, tile, target, after } = held;
    release();
    if (!ghost) return;
    // The click that follows opens nothing.
    const swallow = (click) => { click.preventDefault(); click.stopPropagation(); };
    addEventListener("click", swallow, { capture: true, once: true });
    setTimeout(() => removeEventListener("click", swallow, { capture: true }), 50);
    if (!target) return;
    const others = tiles().filter((each) => each !== tile);
    move(tile, Number(list.dataset.first) + others.indexOf(target) + (after ? 1 : 0));
  });
  addEventListener("pointercancel", release);
  addEventListener("keydown", (event) => { if (event.key === "Escape") release(); });
  list.addEventListener("touchmove", (event) => { if (held?.ghost) event.preventDefault(); }, { passive: false });
  list.addEventListener("contextmenu", (event) => { if (held?.touch) event.preventDefault(); });
  list.addEventListener("dragstart", (event) => event.preventDefault());
}

if (list) {
  drag();
  for (const link of list.querySelectorAll("a.open")) {
    link.setAttribute("aria-keyshortcuts", "Alt+ArrowLeft Alt+ArrowRight");
  }
  list.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!event.altKey || !by || event.target.matches("input")) return;
    event.preventDefault();
    const tile = event.target.closest("li");
    move(tile, Number(tile.dataset.index) + by);
  });
  list.addEventListener("submit", async (event) => {
    const form = event.target;
    const tile = form.closest("li");
    if (form.matches("[data-move]")) {
      event.preventDefault();
      move(tile, Number(event.submitter.value));
    } else if (form.matches("[data-delete]")) {
      event.preventDefault();
      if (!await minus.confirm(`Delete ${tile.dataset.name}? There is no way back.`, "Delete")) return;
      try {
        await post(form.action, new FormData(form));
        const near = tile.nextElementSibling ?? tile.previousElementSibling;
        list.dataset.total = total() - 1;
        document.getElementById("file-count").textContent = `${total().toLocaleString("en")} ${total() === 1 ? "file" : "files"}`;
        tile.remove();
        if (!near || list.dataset.next) return location.reload();
        renumber();
        near.querySelector(".open").focus();
        say(`${tile.dataset.name} is deleted.`);
      } catch (error) { trouble(error); }
    }
  });
}

// --- more files: one at a time, so that they stay in order ---

const add = document.getElementById("add");
const uploads = new minus.Uploads({
  editor: async () => list?.dataset.key ?? add.dataset.key,
  parallel: 1,
  done() {
    if (uploads.ids.length && !uploads.entries.some((entry) => entry.state === "failed")) location.reload();
  },
});
minus.takeFiles(document.getElementById("file"), (files) => uploads.add(files));
