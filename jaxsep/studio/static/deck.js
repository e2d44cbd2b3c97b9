// The player's part of the page: transport, tracks and downloads of the song that is open.

import { addressOf, ask, tell } from "./api.js";
import { Player } from "./player.js";
import { TrackRow } from "./tracks.js";

const SHORTEST_LOOP = 0.1; // seconds; a shorter drag is a click

const find = (id) => document.getElementById(id);

export function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

export class Deck {
  constructor() {
    this.player = null;
    this.rows = [];
    find("play").addEventListener("click", () => this.toggle());
    find("loop").addEventListener("click", () => this.toggleLoop());
    find("seek").addEventListener("input", (event) => this.player.seek(event.target.value * this.player.rate));
    find("picture").addEventListener("change", () => this.#setPicture());
    find("format").addEventListener("change", () => this.#setFormat());
    find("player").addEventListener("click", (event) => event.target.matches("a.button") && save(event));
    document.addEventListener("keydown", (event) => this.#press(event));
  }

  get song() {
    return this.player?.song;
  }

  /** Shows a song, of which something is ready. */
  open(song) {
    this.close();
    this.player = new Player(song);
    this.player.onend = () => this.#draw();
    this.player.onerror = ({ message }) => tell(message);
    this.rows = song.tracks.map((track) => new TrackRow(song, track, () => this.#mix()));
    for (const { views } of this.rows) this.#makeSeekable(views);
    find("tracks").replaceChildren(...this.rows.map(({ node }) => node));
    find("title").textContent = song.name;
    [find("quietest").textContent, find("loudest").textContent] = song.decibels.map(
      (level) => `${level} dB`.replace("-", "\u2212"),
    );
    find("player").hidden = false;
    this.#mix();
    this.#setPicture();
    this.#setFormat();
    this.#draw();
  }

  update(song) {
    this.player.update(song);
    for (const row of this.rows) row.update(song);
    this.#setFormat();
  }

  close() {
    cancelAnimationFrame(this.frame);
    this.player?.close();
    this.player = null;
    find("player").hidden = true;
  }

  toggle() {
    if (this.player.playing) this.player.pause();
    else this.player.play();
  }

  /** Loops the whole song, or nothing. */
  toggleLoop() {
    const { num_samples } = this.song;
    this.player.setLoop(this.player.loop ? null : { start: 0, end: num_samples });
  }

  #setLoop(from, to) {
    const [start, end] = [Math.min(from, to), Math.max(from, to)].map(Math.floor);
    if (end - start >= SHORTEST_LOOP * this.player.rate) this.player.setLoop({ start, end });
  }

  #mix() {
    const anySolo = this.rows.some(({ solo }) => solo);
    for (const row of this.rows) this.player.setGain(row.track.id, row.show(anySolo));
  }

  #setPicture() {
    const kind = find("picture").value;
    for (const row of this.rows) row.setPicture(kind);
    find("kept").hidden = kind !== "mask";
  }

  #setFormat() {
    const isDone = this.song.state === "done";
    const format = find("format").value;
    for (const row of this.rows) row.setFormat(isDone ? format : "");
    find("downloads").hidden = !isDone;
    find("zip").href = addressOf(this.song, `stems.zip?format=${format}`);
  }

  /** Shows where the player is, again and again. */
  #draw() {
    cancelAnimationFrame(this.frame);
    if (!this.player) return;
    const { position, playing, loop, rate, song } = this.player;
    const place = (sample) => (song.num_samples ? sample / song.num_samples : 0);
    const region = loop && { start: place(loop.start), end: place(loop.end) };
    for (const row of this.rows) row.setPlace(place(position), region);
    find("play").textContent = playing ? "Pause" : "Play";
    find("loop").setAttribute("aria-pressed", Boolean(loop));
    const [now, whole] = [position / rate, song.num_samples / rate];
    find("time").textContent = `${clock(now)} / ${clock(whole)}`;
    find("seek").max = whole;
    if (document.activeElement !== find("seek") || playing) find("seek").value = now;
    find("seek").setAttribute("aria-valuetext", `${clock(now)} of ${clock(whole)}`);
    this.frame = requestAnimationFrame(() => this.#draw());
  }

  /** A click goes there; dragging makes a loop. */
  #makeSeekable(views) {
    const sampleAt = ({ clientX }) => {
      const { left, width } = views.getBoundingClientRect();
      const share = Math.max(0, Math.min((clientX - left) / width, 1));
      return share * this.song.num_samples;
    };
    let from = null;
    views.addEventListener("pointerdown", (event) => {
      from = sampleAt(event);
      views.setPointerCapture(event.pointerId);
    });
    views.addEventListener("pointerup", (event) => {
      const to = sampleAt(event);
      if (Math.abs(to - from) < SHORTEST_LOOP * this.player.rate) this.player.seek(to);
      else {
        this.#setLoop(from, to);
        this.player.seek(Math.min(from, to));
      }
    });
  }

  #press(event) {
    const { target, key } = event;
    // A slider moves by some keys, and knows no others.
    const isTaken = target.matches("select, summary, #files") || (target.matches("input") && /^(Arrow|Home)/.test(key));
    if (!this.player || isTaken || event.ctrlKey || event.metaKey || event.altKey) return;
    const { player } = this;
    const step = 5 * player.rate;
    const actions = {
      " ": () => this.toggle(),
      ArrowLeft: () => player.seek(player.position - step),
      ArrowRight: () => player.seek(player.position + step),
      Home: () => player.seek(0),
      l: () => this.toggleLoop(),
      "[": () => this.#setLoop(player.position, player.loop?.end ?? player.song.num_samples),
      "]": () => this.#setLoop(player.loop?.start ?? 0, player.position),
    };
    const action = actions[key] ?? (/^\d$/.test(key) && (() => this.#soloOnly(key - 1)));
    // A focused button is pressed by the space bar itself.
    if (!action || (key === " " && target.matches("button, a"))) return;
    event.preventDefault();
    action();
  }

  #soloOnly(number) {
    if (number >= this.rows.length) return;
    this.rows.forEach((row, i) => row.setSolo(i === number && !row.solo));
    this.#mix();
  }
}

/** Has the studio write a file, which may take long or fail, before the browser fetches it. */
async function save(event) {
  event.preventDefault();
  const link = event.target;
  if (link.ariaBusy) return;
  link.ariaBusy = "true";
  try {
    const { body } = await ask(link.pathname.replace("/api/", "") + link.search);
    await body.cancel();
    location.assign(link.href);
  } catch ({ message }) {
    tell(message);
  } finally {
    link.ariaBusy = null;
  }
}
