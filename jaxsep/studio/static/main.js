// The page: takes songs, shows how far they are, and opens them in the deck.

import { addressOf, ask, askJson, tell } from "./api.js";
import { clock, Deck } from "./deck.js";
import { element } from "./tracks.js";

const KEY = "jaxsep-songs"; // of this tab, which finds its songs again when it is loaded anew
const find = (id) => document.getElementById(id);
const isFinished = ({ state }) => state === "done" || state === "failed";

export const deck = new Deck();
const songs = new Map(); // by id, in the order of the queue
let watched = null; // an EventSource: of the first unfinished song, as one at a time is separated
let wanted = null; // id of the song to open as soon as something of it is ready

// The page takes songs from the first moment on; they wait for this.
const offered = askJson("studio");
acceptSongs();
offered.then(show);

function acceptSongs() {
  find("files").addEventListener("change", ({ target }) => {
    upload([...target.files]);
    target.value = "";
  });
  acceptDrops();
}

function show(offer) {
  for (const model of offer.models) {
    find("model").append(new Option(model));
    find("other").append(new Option(model));
  }
  find("other").parentElement.hidden = offer.models.length < 2;
  for (const format of offer.formats) find("format").append(new Option(format));
  find("limits").textContent = `any audio format, up to ${offer.max_megabytes} MB and ${offer.max_minutes} minutes`;
  for (const example of offer.examples) {
    const button = element("button", { textContent: example });
    button.addEventListener("click", () => add(`examples/${encodeURIComponent(example)}?`));
    find("examples").append(button);
  }
  restore();
}

function acceptDrops() {
  const drop = find("drop");
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
    });
  }
  document.addEventListener("drop", (event) => upload([...event.dataTransfer.files]));
}

async function restore() {
  for (const id of JSON.parse(sessionStorage.getItem(KEY) ?? "[]")) {
    await askJson(`jobs/${id}`).then(take, () => {}); // removed meanwhile
  }
}

async function upload(files) {
  const { max_megabytes } = await offered;
  for (const file of files) {
    if (file.size > max_megabytes * 1e6) {
      tell(`${file.name}: larger than ${max_megabytes} MB, the limit here`);
    } else {
      await add(`jobs?name=${encodeURIComponent(file.name)}`, file);
    }
  }
}

async function add(path, body) {
  const models = [find("model").value, find("other").value].filter(Boolean);
  const query = models.map((model) => `&model=${encodeURIComponent(model)}`).join("");
  try {
    const song = await askJson(path + query, { method: "POST", body });
    wanted = song.id;
    take(song);
  } catch ({ message }) {
    tell(message);
  }
}

/** Takes what is new about a song. */
function take(song) {
  const before = songs.get(song.id);
  if (before && isFinished(song) && !isFinished(before)) find("news").textContent = `${song.name}, ${describe(song)}`;
  songs.set(song.id, song);
  sessionStorage.setItem(KEY, JSON.stringify([...songs.keys()]));
  if (deck.song?.id === song.id && song.state !== "failed") deck.update(song);
  else if (wanted === song.id && song.ready) open(song);
  showQueue();
  watch();
}

function open(song) {
  wanted = null;
  deck.open(song);
  showQueue();
}

/** Follows the first unfinished song. */
function watch() {
  const first = [...songs.values()].find((song) => !isFinished(song));
  if (watched?.id === first?.id) return;
  watched?.events.close();
  watched = null;
  if (!first) return;
  const events = new EventSource(addressOf(first, "events"));
  watched = { id: first.id, events };
  events.onmessage = ({ data }) => take(JSON.parse(data));
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) forget(first.id);
  };
}

async function remove(song) {
  await ask(`jobs/${song.id}`, { method: "DELETE" }).catch(() => {}); // it is gone already
  forget(song.id);
}

function forget(id) {
  songs.delete(id);
  sessionStorage.setItem(KEY, JSON.stringify([...songs.keys()]));
  if (deck.song?.id === id) deck.close();
  showQueue();
  watch();
}

function showQueue() {
  const there = new Map([...find("queue").children].map((item) => [item.dataset.id, item]));
  for (const song of songs.values()) {
    const item = there.get(song.id) ?? makeItem(song);
    there.delete(song.id);
    showSong(item, song);
  }
  for (const item of there.values()) item.remove();
  find("songs").hidden = !songs.size;
}

function makeItem({ id, name }) {
  const item = element("li");
  item.dataset.id = id;
  const button = element("button", { className: "name", textContent: name });
  button.addEventListener("click", () => songs.get(id).ready && open(songs.get(id)));
  const away = element("button", { className: "remove" });
  away.addEventListener("click", () => remove(songs.get(id)));
  const bar = element("progress", { max: 1 });
  bar.setAttribute("aria-label", `Progress of ${name}`);
  const state = element("span", { className: "state" });
  item.append(button, away, bar, state);
  find("queue").append(item);
  return item;
}

function showSong(item, song) {
  const bar = item.querySelector("progress");
  bar.hidden = isFinished(song);
  bar.value = song.num_samples ? song.ready / song.num_samples : 0;
  const state = item.querySelector(".state");
  state.textContent = describe(song);
  state.classList.toggle("failed", song.state === "failed");
  const away = item.querySelector(".remove");
  away.textContent = isFinished(song) ? "Remove" : "Cancel";
  away.setAttribute("aria-label", `${away.textContent} ${song.name}`);
  const name = item.querySelector(".name");
  name.disabled = !song.ready;
  name.setAttribute("aria-current", deck.song?.id === song.id);
}

function describe({ state, error, models, ready, num_samples, sample_rate, seconds_left }) {
  if (state === "failed") return error;
  const by = models.join(", ");
  if (state === "done") return `${by}: ${clock(num_samples / sample_rate)}, separated`;
  if (state !== "running") return `${by}: ${state}`;
  if (!ready) return `${by}: starting`;
  const left = seconds_left === null ? "" : `, ${clock(Math.ceil(seconds_left))} left`;
  return `${by}: ${clock(ready / sample_rate)} of ${clock(num_samples / sample_rate)}${left}`;
}
