// Uploads with progress, and the ways files come onto a page. Used by drop.js and edit.js.
const { el, say, root } = minus;

/** Sends files to a gallery and shows how far they are in the section #uploads.
 *
 *  editor    async () -> id of the gallery to send to; asked for once, before the first file
 *  parallel  how many files at a time
 *  done      called with the entries when nothing is left to send
 */
minus.Uploads = class {
  constructor({ editor, parallel, done }) {
    Object.assign(this, { editor, parallel, done });
    this.entries = [];
    this.section = document.getElementById("uploads");
    this.words = document.getElementById("uploads-words");
    this.total = document.getElementById("uploads-progress");
    this.stop = document.getElementById("uploads-cancel");
    this.stop.addEventListener("click", () => this.cancelAll());
    addEventListener("beforeunload", (event) => { if (this.busy) event.preventDefault(); });
  }

  get busy() {
    return this.entries.some((entry) => entry.state === "waiting" || entry.state === "sending");
  }

  add(files) {
    if (!files.length) return;
    for (const file of files) this.entries.push(this.row({ file, state: "waiting", sent: 0 }));
    this.section.hidden = false;
    this.start();
  }

  row(entry) {
    const name = entry.file.name;
    entry.bar = el("progress", { max: 100, value: 0, "aria-label": `Progress of ${name}` });
    entry.note = el("span", { className: "upload-note quiet" }, "Waiting");
    entry.cancel = el("button", { type: "button", className: "plain", "aria-label": `Cancel ${name}` }, "Cancel");
    entry.retry = el("button", { type: "button", hidden: true, "aria-label": `Retry ${name}` }, "Retry");
    entry.cancel.addEventListener("click", () => this.cancel(entry));
    entry.retry.addEventListener("click", () => { this.set(entry, "waiting"); this.start(); });
    const face = el("span", { className: "upload-face" });
    if (entry.file.type.startsWith("image/") && entry.file.size < 12e6) {
      const address = URL.createObjectURL(entry.file);
      const forget = () => URL.revokeObjectURL(address);
      face.append(el("img", { src: address, alt: "", decoding: "async", onload: forget, onerror() { forget(); this.remove(); } }));
    }
    entry.row = el("li", { className: "upload", "data-state": entry.state }, face,
      el("span", { className: "upload-name", dir: "auto" }, name), entry.note, entry.retry, entry.cancel, entry.bar);
    document.getElementById("uploads-list").append(entry.row);
    return entry;
  }

  set(entry, state, words) {
    entry.state = state;
    entry.row.dataset.state = state;
    entry.note.textContent = words ?? { waiting: "Waiting", sending: "0 %", done: "Done", cancelled: "Cancelled" }[state];
    const live = state === "waiting" || state === "sending";
    const focused = document.activeElement;
    entry.cancel.hidden = !live;
    entry.retry.hidden = live || state === "done";
    entry.bar.hidden = state === "cancelled" || state === "failed";
    if (focused === entry.cancel && !live && !entry.retry.hidden) entry.retry.focus();
    if (focused === entry.retry && live) entry.cancel.focus();
    if (state !== "sending") entry.sent = state === "done" ? entry.file.size : 0;
    entry.bar.value = state === "done" ? 100 : 0;
    this.draw();
  }

  draw() {
    const counted = this.entries.filter((entry) => entry.state !== "cancelled" && entry.state !== "failed");
    const size = counted.reduce((sum, entry) => sum + entry.file.size + 1, 0);
    const sent = counted.reduce((sum, entry) => sum + entry.sent + (entry.state === "done" ? 1 : 0), 0);
    const ready = counted.filter((entry) => entry.state === "done").length;
    const failed = this.entries.filter((entry) => entry.state === "failed").length;
    this.total.value = size ? (100 * sent) / size : 0;
    this.stop.hidden = !this.busy;
    this.words.textContent = (this.busy ? `Uploading, ${ready} of ${counted.length} done` : `${ready} ${ready === 1 ? "file" : "files"} uploaded`)
      + (failed ? `, ${failed} failed` : "");
  }

  async start() {
    this.draw();
    try {
      this.id ??= this.editor();
      await this.id;
    } catch (error) {
      this.id = undefined;
      say(error.message, true);
      for (const entry of this.entries) if (entry.state === "waiting") this.set(entry, "failed", error.message);
      return;
    }
    if (!this.busy) return this.done(this.entries); // cancelled before the gallery was made
    const editor = await this.id;
    let free = this.parallel - this.entries.filter((entry) => entry.state === "sending").length;
    for (const entry of this.entries) {
      if (free > 0 && entry.state === "waiting") {
        free -= 1;
        this.send(entry, editor);
      }
    }
  }

  send(entry, editor) {
    const request = entry.request = new XMLHttpRequest();
    this.set(entry, "sending");
    request.open("POST", `${root}api/UploadItem?editor_id=${encodeURIComponent(editor)}&filename=${encodeURIComponent(entry.file.name)}`);
    request.setRequestHeader("Content-Type", entry.file.type || "application/octet-stream");
    request.upload.addEventListener("progress", (event) => {
      if (entry.state !== "sending" || !event.total) return;
      entry.sent = event.loaded;
      entry.bar.value = (100 * event.loaded) / event.total;
      entry.note.textContent = `${Math.floor(entry.bar.value)} %`;
      this.draw();
    });
    request.addEventListener("loadend", () => {
      if (entry.state === "sending") this.answer(entry, request);
      this.next();
    });
    request.send(entry.file);
  }

  answer(entry, request) {
    let body = {};
    try { body = JSON.parse(request.responseText); } catch { /* not JSON: told by its status */ }
    if (request.status === 200 && body.id) {
      entry.id = body.id;
      this.set(entry, "done");
    } else {
      this.set(entry, "failed", body.error_description
        || (request.status ? `The service answered ${request.status}.` : "The connection broke."));
    }
  }

  cancel(entry) {
    const sending = entry.state === "sending";
    this.set(entry, "cancelled");
    if (sending) entry.request.abort(); // its loadend goes on
    else this.next();
  }

  cancelAll() {
    const live = this.entries.filter((entry) => entry.state === "waiting" || entry.state === "sending");
    const sending = live.filter((entry) => entry.state === "sending");
    for (const entry of live) this.set(entry, "cancelled");
    for (const entry of sending) entry.request.abort(); // its loadend goes on
    if (!sending.length) this.next();
  }

  next() {
    if (this.entries.some((entry) => entry.state === "waiting")) this.start();
    else if (!this.busy) this.done(this.entries);
  }

  /** Ids of what arrived, in the order of the selection. */
  get ids() {
    return this.entries.filter((entry) => entry.state === "done").map((entry) => entry.id);
  }
};

async function walk(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) { // a reader gives a folder in parts
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!part.length) return (await Promise.all(found.map(walk))).flat();
    found.push(...part);
  }
}

function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.());
  if (!entries.some((entry) => entry?.isDirectory)) return [...transfer.files];
  return Promise.all(entries.filter(Boolean).map(walk)).then((lists) => lists.flat());
}

function named(file) {
  if (file.name !== "image.png") return file; // what browsers call a pasted picture
  const now = new Date().toISOString().slice(0, 19).replace("T", " at ").replaceAll(":", ".");
  return new File([file], `Screenshot ${now}.png`, { type: file.type });
}

/** Take files dropped anywhere, pasted, or chosen in `input`. */
minus.takeFiles = (input, take) => {
  const page = document.documentElement;
  let depth = 0;
  let ours = false; // a picture of this page dragged about is no upload
  const carries = (event) => !ours && event.dataTransfer?.types.includes("Files");
  const rest = () => { depth = 0; page.classList.remove("dragging"); };
  addEventListener("dragstart", () => { ours = true; });
  addEventListener("dragend", () => { ours = false; });
  addEventListener("dragenter", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    depth += 1;
    page.classList.add("dragging");
  });
  addEventListener("dragleave", (event) => { if (carries(event) && --depth <= 0) rest(); });
  addEventListener("dragover", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
  });
  addEventListener("drop", async (event) => {
    rest();
    if (!carries(event)) return;
    event.preventDefault();
    take(await dropped(event.dataTransfer));
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])].map(named);
    if (!files.length) return;
    event.preventDefault();
    take(files);
  });
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = "";
  });
};
