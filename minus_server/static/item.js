// One item: arrow keys lead to its neighbours.
addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.target.closest("input, textarea, video, audio, pre")) return;
  const rel = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  document.querySelector(`.item-nav a[rel="${rel}"]`)?.click();
});

// A format that this browser does not know: the thumbnail is always one it does.
const image = document.querySelector("img[data-fallback]");
const fall = () => { image.src = image.dataset.fallback; };
if (image?.complete && !image.naturalWidth) fall();
else image?.addEventListener("error", fall, { once: true });
