// The rows of a song's tracks: controls, waveform, picture, play head.

import { addressOf, askJson } from "./api.js";

const MARKS = [100, 1000, 10000]; // Hz

export function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** One track: what is heard of it, and what is seen. */
export class TrackRow {
  /**
   * @param {object} song - of the API.
   * @param {object} track - one of its tracks.
   * @param {function} changed - called when what is heard has changed.
   */
  constructor(song, track, changed) {
    this.track = track;
    this.isStem = track.model !== null;
    this.solo = false;
    // At first one hears the first model's stems, which are the song.
    this.muted = !track.id.endsWith("-0");
    this.volume = 1;
    this.kind = "spectrogram";
    this.tiles = [];
    const name = track.stem.charAt(0).toUpperCase() + track.stem.slice(1) + (song.models.length > 1 && track.model ? `, ${track.model}` : "");
    this.name = name;
    this.soloButton = toggle("Solo", `Solo ${name}`, () => this.setSolo(!this.solo), changed);
    this.muteButton = toggle("Mute", `Mute ${name}`, () => (this.muted = !this.muted), changed);
    this.muteButton.className = "mute";
    const volume = element("input", { type: "range", min: 0, max: 1, step: 0.01, value: 1 });
    volume.setAttribute("aria-label", `Volume of ${name}`);
    volume.addEventListener("input", () => {
      this.volume = Number(volume.value);
      changed();
    });
    this.download = element("a", { className: "button", textContent: "Save", hidden: true });
    this.download.setAttribute("aria-label", `Save ${name}`);
    this.wave = element("div", { className: "wave" });
    this.pictures = element("div", { className: "pictures" });
    this.head = element("div", { className: "head" });
    this.region = element("div", { className: "region", hidden: true });
    this.views = element("div", { className: "views" }, this.wave, this.pictures, this.region, this.head);
    const controls = element("div", { className: "controls" }, element("h3", { textContent: name }));
    controls.append(this.soloButton, this.muteButton, this.download, volume);
    this.node = element("section", { className: "track" }, controls, this.views);
    this.node.setAttribute("aria-label", name);
    this.update(song);
  }

  setSolo(solo) {
    this.solo = solo;
  }

  /** Shows whether it is heard, and returns how loud. */
  show(anySolo) {
    const heard = anySolo ? this.solo : !this.muted;
    this.soloButton.setAttribute("aria-pressed", this.solo);
    this.muteButton.setAttribute("aria-pressed", this.muted);
    this.node.classList.toggle("silent", !heard);
    return heard ? this.volume : 0;
  }

  /** Adds the tiles that have become ready, and puts all of them where they belong. */
  update(song) {
    this.song = song;
    const { ready, num_samples, tile_samples, state } = song;
    if (!num_samples) return;
    const count = state === "done" ? Math.ceil(ready / tile_samples) : Math.floor(ready / tile_samples);
    while (this.tiles.length < count) this.tiles.push(this.#addTile(this.tiles.length));
    this.tiles.forEach((nodes, number) => {
      const start = number * tile_samples;
      const share = Math.min(tile_samples, num_samples - start) / num_samples;
      for (const node of nodes) {
        node.style.left = `${(100 * start) / num_samples}%`;
        node.style.width = `${100 * share}%`;
      }
    });
    if (!this.marks) this.#addMarks();
  }

  #addTile(number) {
    const image = element("img", { className: "tile", alt: "", src: this.#picture(number) });
    const wave = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    wave.setAttribute("class", "tile");
    wave.setAttribute("preserveAspectRatio", "none");
    this.wave.append(wave);
    this.pictures.append(image);
    this.#drawPeaks(wave, number);
    return [wave, image];
  }

  #picture(number) {
    return addressOf(this.song, `tracks/${encodeURIComponent(this.track.id)}/${this.kind}/${number}`);
  }

  async #drawPeaks(svg, number) {
    const address = `jobs/${this.song.id}/tracks/${encodeURIComponent(this.track.id)}/peaks/${number}`;
    const peaks = await askJson(address).catch(() => []); // the song was cancelled meanwhile
    // Square roots, so that one sees what is soft.
    const bars = peaks.map(Math.sqrt).map((peak, i) => `M${i} ${-peak}h1V${peak}h-1z`);
    svg.setAttribute("viewBox", `0 -1 ${peaks.length} 2`);
    const path = document.createElementNS(svg.namespaceURI, "path");
    path.setAttribute("d", bars.join(""));
    svg.replaceChildren(path);
  }

  #addMarks() {
    const [lowest, highest] = this.song.hertz.map(Math.log);
    this.marks = MARKS.filter((hertz) => Math.log(hertz) < highest).map((hertz) => {
      const text = hertz < 1000 ? `${hertz} Hz` : `${hertz / 1000} kHz`;
      const mark = element("span", { className: "hertz", textContent: text });
      mark.style.bottom = `${(100 * (Math.log(hertz) - lowest)) / (highest - lowest)}%`;
      return mark;
    });
    this.pictures.append(...this.marks);
  }

  /** @param {string} kind - "spectrogram" or "mask", which only stems have. */
  setPicture(kind) {
    this.kind = this.isStem ? kind : "spectrogram";
    this.tiles.forEach(([, image], number) => (image.src = this.#picture(number)));
  }

  /** @param {string} format - of the download, "" if there is none yet. */
  setFormat(format) {
    this.download.hidden = !format || !this.isStem;
    this.download.href = addressOf(this.song, `stems/${encodeURIComponent(this.track.id)}?format=${format}`);
  }

  /** Moves the play head and the loop; all in shares of the song, 0 to 1. */
  setPlace(place, loop) {
    this.head.style.left = `${100 * place}%`;
    this.region.hidden = !loop;
    if (!loop) return;
    this.region.style.left = `${100 * loop.start}%`;
    this.region.style.width = `${100 * (loop.end - loop.start)}%`;
  }
}

function toggle(text, label, flip, changed) {
  const button = element("button", { textContent: text });
  button.setAttribute("aria-label", label);
  button.addEventListener("click", () => {
    flip();
    changed();
  });
  return button;
}
