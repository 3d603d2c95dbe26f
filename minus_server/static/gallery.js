// The viewer: a gallery's items one at a time. Without script every tile leads to the item's page.
const { el } = minus;
const list = document.getElementById("items");
const viewer = document.getElementById("viewer");
if (list) {
  const part = (name) => document.getElementById(`viewer-${name}`);
  const stage = part("stage");
  const tiles = () => [...list.children];
  const total = () => Number(list.dataset.total);
  let current;
  let loading; // of a text that is still under way

  const PART = 200_000; // bytes of a text that are shown
  const makers = {
    picture(tile) {
      const { shown, thumb } = tile.dataset;
      const image = el("img", { src: shown, alt: tile.dataset.title || tile.dataset.caption || tile.dataset.name, draggable: false });
      // A format that this browser does not know: the thumbnail is always one it does.
      image.addEventListener("error", () => { image.src = thumb; }, { once: true });
      return image;
    },
    film: (tile) => el("video", { src: tile.dataset.raw, controls: true, autoplay: false, preload: "metadata", "aria-label": tile.dataset.name }),
    sound: (tile) => el("div", { className: "viewer-card" }, icon(tile), name(tile),
      el("audio", { src: tile.dataset.raw, controls: true, preload: "metadata", "aria-label": tile.dataset.name })),
    text(tile) {
      const pre = el("pre", { tabIndex: 0, role: "region", "aria-label": `Text of ${tile.dataset.name}`, dir: "auto" }, "…");
      loading = new AbortController();
      fetch(tile.dataset.raw, { headers: { Range: `bytes=0-${PART - 1}` }, signal: loading.signal })
        .then((answer) => (answer.status === 416 ? "" : answer.ok ? beginning(answer) : Promise.reject(new Error(answer.status))))
        .then((text) => { pre.textContent = text; })
        .catch((error) => { if (error.name !== "AbortError") pre.replaceWith(makers.other(tile)); });
      return pre;
    },
    other: (tile) => el("div", { className: "viewer-card" }, icon(tile), name(tile),
      el("p", { className: "quiet" }, `${tile.dataset.type}, ${tile.dataset.size}`),
      el("a", { className: "button", href: tile.dataset.raw, download: tile.dataset.name }, "Download")),
  };

  function icon(tile) {
    const copy = tile.querySelector("svg").cloneNode(true);
    copy.setAttribute("width", 72);
    copy.setAttribute("height", 72);
    return copy;
  }

  function name(tile) {
    return el("p", { className: "viewer-name", dir: "auto" }, tile.dataset.title || tile.dataset.name);
  }

  async function beginning(answer) {
    const reader = answer.body.getReader();
    const decoder = new TextDecoder();
    let text = "";
    for (let size = 0; size < PART;) {
      const { done, value } = await reader.read();
      if (done) return text + decoder.decode();
      text += decoder.decode(value, { stream: true });
      size += value.length;
    }
    reader.cancel();
    return text;
  }

  function show(tile) {
    loading?.abort();
    current = tile;
    const { raw, name: file, index, title, caption } = tile.dataset;
    stage.replaceChildren((makers[tile.dataset.kind] ?? makers.other)(tile));
    stage.dataset.kind = tile.dataset.kind;
    part("count").textContent = `${Number(index) + 1} of ${total()}`;
    part("words").textContent = [title, caption].filter(Boolean).join(" – ") || file;
    const about = part("words").parentElement; // long words scroll, by keyboard too
    about.tabIndex = about.scrollHeight > about.clientHeight ? 0 : -1;
    part("download").href = raw;
    part("download").download = file;
    part("details").href = tile.querySelector(".open").href;
    part("previous").classList.toggle("spent", !tile.previousElementSibling && !list.dataset.previous);
    part("next").classList.toggle("spent", !tile.nextElementSibling && !list.dataset.next);
    history.replaceState(history.state, "", `#${tile.dataset.item}`);
    for (const near of [tile.nextElementSibling, tile.previousElementSibling]) {
      if (near?.dataset.kind === "picture") new Image().src = near.dataset.shown;
    }
  }

  function open(tile) {
    if (!viewer.open) {
      history.pushState({ viewer: true }, "");
      history.scrollRestoration = "manual";
      viewer.showModal();
      part("next").focus();
    }
    show(tile);
  }

  function step(by) {
    const tile = by > 0 ? current.nextElementSibling : current.previousElementSibling;
    const page = by > 0 ? list.dataset.next : list.dataset.previous;
    if (tile) show(tile);
    else if (page) location.replace(`${page}#${by > 0 ? "view-first" : "view-last"}`);
  }

  function openFromHash() {
    const id = location.hash.slice(1);
    const tile = { "view-first": list.firstElementChild, "view-last": list.lastElementChild }[id]
      ?? tiles().find((each) => each.dataset.item === id);
    if (tile) {
      if (!viewer.open) history.replaceState(null, "", location.pathname + location.search);
      open(tile);
    }
    return Boolean(tile);
  }

  list.addEventListener("click", (event) => {
    const link = event.target.closest("a.open");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    open(link.closest("li"));
  });

  viewer.addEventListener("close", () => {
    loading?.abort();
    stage.replaceChildren(); // a film stops
    if (history.state?.viewer) history.back();
    const link = current.querySelector(".open");
    link.focus({ preventScroll: true });
    current.scrollIntoView({ block: "nearest" });
    setTimeout(() => { history.scrollRestoration = "auto"; }, 300);
  });

  addEventListener("popstate", () => {
    if (location.hash.length > 1 && openFromHash()) return;
    if (viewer.open) viewer.close();
  });

  addEventListener("keydown", (event) => {
    if (!viewer.open || event.altKey || event.ctrlKey || event.metaKey || event.target.matches("video, audio")) return;
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
    else if (event.key === "Home" && stage.dataset.kind !== "text") show(list.firstElementChild);
    else if (event.key === "End" && stage.dataset.kind !== "text") show(list.lastElementChild);
    else return;
    event.preventDefault();
  });

  part("previous").addEventListener("click", () => step(-1));
  part("next").addEventListener("click", () => step(1));
  part("close").addEventListener("click", () => viewer.close());
  stage.addEventListener("click", (event) => { if (event.target === stage) viewer.close(); });

  let start;
  stage.addEventListener("pointerdown", (event) => {
    start = event.pointerType === "touch" && event.isPrimary && !event.target.closest("video, audio, pre")
      ? { x: event.clientX, y: event.clientY } : undefined;
  });
  stage.addEventListener("pointerup", (event) => {
    if (!start || (window.visualViewport?.scale ?? 1) > 1.01) return;
    const across = event.clientX - start.x;
    if (Math.abs(across) > 48 && Math.abs(across) > 2 * Math.abs(event.clientY - start.y)) step(across < 0 ? 1 : -1);
    start = undefined;
  });

  openFromHash();
  // Arriving at a #fragment takes the focus away again.
  addEventListener("load", () => setTimeout(() => {
    if (viewer.open && !viewer.contains(document.activeElement)) part("next").focus();
  }));
}
