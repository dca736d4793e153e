// Choosing a picture, sending it straight to the store of files, and showing it.

import { h } from "./dom.js";
import { freshKey, RequestError } from "./graphql.js";
import { COMPLETE_PICTURE_UPLOAD, REQUEST_PICTURE_UPLOAD } from "./operations.js";

/** Pixels of the longer side: enough for any of our pages, and a photo of 5 MB becomes one of 200 kB. */
const LONGEST = 1200;
const QUALITY = 0.85;

/** Upload the picture in `file` for a store; resolves to it. Throws Refusal, or RequestError. */
export async function uploadPicture(client, store, file) {
  const content = await smaller(file);
  const upload = await client.act(REQUEST_PICTURE_UPLOAD, { store, format: "JPEG", size: content.size, key: freshKey() });
  const headers = upload.headers.map(({ name, value }) => [name, value]);
  let response;
  try {
    response = await fetch(upload.url, { method: upload.method, headers, body: content, credentials: "omit" });
  } catch {
    throw new RequestError("offline", "NETWORK");
  }
  if (!response.ok) throw new RequestError(`HTTP ${response.status}`, "HTTP");
  return client.act(COMPLETE_PICTURE_UPLOAD, { upload: upload.id });
}

async function smaller(file) {
  let image;
  try {
    image = await createImageBitmap(file);
  } catch {
    throw new RequestError("", "NO_PICTURE"); // not one that this browser reads
  }
  const scale = Math.min(1, LONGEST / Math.max(image.width, image.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.width * scale));
  canvas.height = Math.max(1, Math.round(image.height * scale));
  const ink = canvas.getContext("2d");
  ink.fillStyle = "#fff"; // what is transparent would be black
  ink.fillRect(0, 0, canvas.width, canvas.height);
  ink.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
}

/** A small picture, or nothing. */
export function thumbnail(picture) {
  return picture && h("img", { key: picture.url, class: "thumb", src: picture.url, width: picture.width, height: picture.height, alt: "", loading: "lazy" });
}

/** A button that shows the picture and takes another one: `take(file)`. */
export function pictureButton(picture, { label, busy, take }) {
  return h("label", { key: "picture", class: `thumb pick${busy ? " busy" : ""}`, title: label },
    thumbnail(picture) ?? h("span", { "aria-hidden": "true" }, "＋"),
    h("input", {
      type: "file", class: "out-of-sight", accept: "image/*", "aria-label": label, disabled: busy,
      onchange: (event) => {
        const [file] = event.target.files;
        event.target.value = "";
        if (file) take(file);
      },
    }));
}
