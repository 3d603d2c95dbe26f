// Uploads with progress, and the ways files come onto a page. Used by drop.js and edit.js.
const { el, say, root } = minus;
const PIECE = 8 << 20; // bytes; a larger file goes in pieces and survives a broken connection
const LONGEST_PAUSE = 30; // seconds between two tries
const TRIES = 10; // without a byte more

const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));
const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const passes = (status) => status === 0 || [408, 409, 423, 429].includes(status) || (status >= 500 && status !== 507);

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
    if (entry.file.size > PIECE) this.sendPieces(entry, editor);
    else this.sendWhole(entry, editor);
  }

  sendWhole(entry, editor) {
    const request = new XMLHttpRequest();
    entry.abort = () => request.abort();
    this.set(entry, "sending");
    request.open("POST", `${root}api/UploadItem?editor_id=${encodeURIComponent(editor)}&filename=${encodeURIComponent(entry.file.name)}`);
    request.setRequestHeader("Content-Type", entry.file.type || "application/octet-stream");
    request.upload.addEventListener("progress", (event) => {
      if (entry.state === "sending" && event.total) this.progress(entry, event.loaded, event.total);
    });
    request.addEventListener("loadend", () => {
      if (entry.state === "sending") this.answer(entry, request);
      this.next();
    });
    request.send(entry.file);
  }

  /** Send a file by tus, in pieces; after a broken connection it goes on where it was. */
  async sendPieces(entry, editor) {
    const { file } = entry;
    const turn = entry.turn = { upload: entry.upload ?? { key: newKey() } };
    const { upload } = turn;
    const live = () => entry.turn === turn && entry.state === "sending";
    let at = 0;
    let failures = 0;
    let status = 0;
    let lost = Boolean(upload.address); // it was begun before: where it goes on must be asked
    entry.abort = () => { turn.request?.abort(); turn.wake?.(); };
    this.set(entry, "sending");
    while (live()) {
      const request = !upload.address ? await this.begin(file, editor, upload)
        : lost ? await this.tus(turn, "HEAD", upload.address)
          : await this.append(turn, entry, at);
      if (!live()) break;
      status = request.status;
      const offset = Number(request.getResponseHeader("Upload-Offset") ?? at);
      entry.id = request.getResponseHeader("Minus-File");
      if (status >= 200 && status < 300) {
        lost = false;
        if (offset > at) failures = 0;
        at = offset;
        if (entry.id) this.set(entry, "done");
        else this.progress(entry, at, file.size);
      } else if (passes(status) && ++failures < TRIES) {
        lost = true;
        await this.pause(turn, entry, Math.min(2 ** (failures - 1), LONGEST_PAUSE));
      } else {
        this.answer(entry, request);
      }
    }
    entry.upload = entry.state === "failed" && passes(status) ? upload : undefined;
    if (entry.state === "cancelled" && upload.address) this.tus({}, "DELETE", upload.address);
    this.next();
  }

  /** Is not aborted: without the answer nobody could give the upload up. */
  async begin(file, editor, upload) {
    const request = await this.tus({}, "POST", `${root}m${editor}/uploads`, {
      "Upload-Length": file.size,
      "Upload-Metadata": `filename ${base64(file.name)}${file.type && `,filetype ${base64(file.type)}`}`,
      "Idempotency-Key": upload.key,
    });
    if (request.status === 201) upload.address = new URL(request.getResponseHeader("Location")).pathname;
    return request;
  }

  append(turn, entry, at) {
    const headers = { "Content-Type": "application/offset+octet-stream", "Upload-Offset": at };
    const seen = (event) => {
      if (entry.turn === turn && entry.state === "sending") this.progress(entry, at + event.loaded, entry.file.size);
    };
    return this.tus(turn, "PATCH", turn.upload.address, headers, entry.file.slice(at, at + PIECE), seen);
  }

  /** One request. -> it, when it is over; its status is 0 where the connection broke */
  tus(turn, method, url, headers = {}, body = null, seen = () => {}) {
    return new Promise((resolve) => {
      const request = turn.request = new XMLHttpRequest();
      request.open(method, url);
      for (const [name, value] of Object.entries({ "Tus-Resumable": "1.0.0", ...headers })) request.setRequestHeader(name, value);
      if (body) request.upload.addEventListener("progress", seen);
      request.addEventListener("loadend", () => resolve(request));
      request.send(body);
    });
  }

  pause(turn, entry, seconds) {
    entry.note.textContent = `Connection lost at ${Math.floor(entry.bar.value)} %, trying again in ${seconds} s`;
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, 1000 * seconds);
      turn.wake = () => { clearTimeout(timer); resolve(); };
    });
  }

  progress(entry, sent, total) {
    entry.sent = sent;
    entry.bar.value = (100 * sent) / total;
    entry.note.textContent = `${Math.floor(entry.bar.value)} %`;
    this.draw();
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
    if (sending) entry.abort(); // what ends then goes on
    else this.next();
  }

  cancelAll() {
    const live = this.entries.filter((entry) => entry.state === "waiting" || entry.state === "sending");
    const sending = live.filter((entry) => entry.state === "sending");
    for (const entry of live) this.set(entry, "cancelled");
    for (const entry of sending) entry.abort(); // what ends then goes on
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
