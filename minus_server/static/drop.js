// The front page: files become a gallery.
const { post, say, root } = minus;
const ready = document.getElementById("ready");
let gallery;
let ordered; // the order that the service knows
let named = false;

async function make() {
  gallery = await post(`${root}api/CreateGallery`, {});
  return gallery.editor_id;
}

async function done() {
  const ids = uploads.ids;
  if (!ids.length) {
    if (gallery && !uploads.entries.some((entry) => entry.state === "failed")) forget();
    ready.hidden = true;
    return;
  }
  if (ids.length > 1 && ids.join() !== ordered) { // two at a time: what arrives first is chance
    try {
      await post(`${root}m${gallery.editor_id}/order`, { items: ids.join(",") });
      ordered = ids.join();
    } catch (error) {
      say(`The files are there, but their order is not as chosen: ${error.message}`, true);
    }
  }
  if (!named) {
    const first = uploads.entries.find((entry) => entry.state === "done").file.name.slice(0, 200);
    const name = ids.length > 1 ? `${first} and ${ids.length - 1} more` : first;
    await post(`${root}m${gallery.editor_id}/edit`, { name }).catch(() => {}); // a title is no need
    named = true;
  }
  document.getElementById("link").value = `${location.origin}${root}m${gallery.reader_id}`;
  document.getElementById("open").href = `${root}m${gallery.editor_id}`;
  ready.hidden = false;
  document.getElementById("drop-title").textContent = "Your gallery is ready";
  document.querySelector("label[for=file]").textContent = "Add more files";
  ready.querySelector(".actions").append(document.getElementById("drop"));
  document.body.classList.add("has-gallery");
  say(`${ids.length} ${ids.length === 1 ? "file" : "files"} uploaded. The link is ready.`);
}

/** Everything was cancelled: leave no empty gallery behind. */
function forget() {
  post(`${root}m${gallery.editor_id}/delete`, {}).catch(() => {});
  gallery = uploads.id = undefined;
  named = false;
}

const uploads = new minus.Uploads({ editor: make, parallel: 2, done });
minus.takeFiles(document.getElementById("file"), (files) => {
  if (files.length) document.body.classList.add("has-uploads");
  uploads.add(files);
});
