// Plays all tracks of a song on one clock, in pieces that are fetched when they are needed.

import { ask } from "./api.js";

const PIECE_SECONDS = 2;
const AHEAD_SECONDS = 3; // a page in the background is woken once a second
const START_SECONDS = 0.05; // from now, for what is to start at once
const KEPT_PIECES = 8;
const FADE_SECONDS = 0.005; // time constant: no click

/**
 * The tracks' pieces begin at whole samples of one AudioContext, which runs at the song's rate: so
 * the tracks stay together, and pieces join without a gap.
 */
export class Player {
  /** @param {object} song - of the API; `update` tells when more of it is ready. */
  constructor(song) {
    this.song = song;
    this.loop = null; // {start, end} in samples
    this.playing = false;
    this.context = newContext(song.sample_rate);
    this.gains = new Map(song.tracks.map(({ id }) => [id, this.context.createGain()]));
    for (const gain of this.gains.values()) gain.connect(this.context.destination);
    this.pieces = new Map(); // by number: a promise of samples by track
    this.scheduled = []; // {frame, start, count, sources}: samples of the song at frames of the clock
    this.resting = 0; // where it is while it doesn't play
    this.turn = 0; // changes when what was scheduled is no longer wanted
    this.timer = setInterval(() => this.#fill(), 250);
  }

  get rate() {
    return this.song.sample_rate;
  }

  /** Samples that can be played: whole pieces, as long as the song isn't done. */
  get available() {
    const { state, ready, num_samples } = this.song;
    return state === "done" ? num_samples : ready - (ready % this.#pieceLength);
  }

  get #pieceLength() {
    return PIECE_SECONDS * this.rate;
  }

  /** Where it is, in samples. */
  get position() {
    if (!this.playing || !this.scheduled.length) return this.resting;
    const now = (this.context.currentTime - (this.context.outputLatency || 0)) * this.rate;
    const begun = this.scheduled.filter(({ frame }) => frame <= now);
    if (!begun.length) return this.scheduled[0].start;
    const { frame, start, count } = begun.at(-1);
    return start + Math.min(now - frame, count);
  }

  async play() {
    await this.context.resume();
    if (this.playing) return;
    if (this.song.state === "done" && this.resting >= this.song.num_samples) this.resting = 0;
    this.playing = true;
    this.#restart(this.resting);
  }

  pause() {
    const position = this.position;
    this.playing = false;
    this.#restart(position);
  }

  /** @param {number} sample - to go to. */
  seek(sample) {
    this.#restart(Math.max(0, Math.min(sample, this.song.num_samples)));
  }

  /** @param {?{start: number, end: number}} loop - in samples, or null for none. */
  setLoop(loop) {
    this.loop = loop;
    this.#restart(this.position);
  }

  /** Makes a track louder or softer, without a click. */
  setGain(track, value) {
    const { currentTime } = this.context;
    this.gains.get(track).gain.setTargetAtTime(value, currentTime, FADE_SECONDS);
  }

  update(song) {
    this.song = song;
    this.#fill();
  }

  close() {
    clearInterval(this.timer);
    this.turn += 1;
    this.context.close();
  }

  #restart(sample) {
    this.turn += 1;
    for (const { sources } of this.scheduled) for (const source of sources) source.stop();
    this.scheduled = [];
    this.resting = Math.floor(sample);
    this.#fill();
  }

  /** Schedules what comes next, until enough lies ahead. */
  async #fill() {
    const turn = this.turn;
    if (!this.playing || this.filling === turn) return;
    this.filling = turn;
    try {
      while (this.#isHungry() && (await this.#scheduleNext(turn)));
    } catch (error) {
      if (turn === this.turn) this.onerror?.(error);
    } finally {
      if (this.filling === turn) this.filling = null;
    }
  }

  #isHungry() {
    const last = this.scheduled.at(-1);
    const end = last ? (last.frame + last.count) / this.rate : 0;
    return this.playing && end < this.context.currentTime + AHEAD_SECONDS;
  }

  /** Schedules one part of a piece; returns whether there may be more. */
  async #scheduleNext(turn) {
    const last = this.scheduled.at(-1);
    let start = last ? last.start + last.count : this.resting;
    if (this.loop && start === this.loop.end) start = this.loop.start;
    if (start >= this.available) {
      const isOver = this.song.state === "done" && this.position >= this.song.num_samples - 1;
      if (isOver) this.#end();
      return false;
    }
    const length = this.#pieceLength;
    const number = Math.floor(start / length);
    const end = Math.min((number + 1) * length, this.available);
    const stop = this.loop && this.loop.end > start ? Math.min(end, this.loop.end) : end;
    const tracks = await this.#piece(number);
    if (turn !== this.turn) return false;
    const soonest = Math.ceil((this.context.currentTime + START_SECONDS) * this.rate);
    const frame = Math.max(last ? last.frame + last.count : 0, soonest);
    const sources = [...tracks].map(([track, channels]) => {
      const source = this.context.createBufferSource();
      source.buffer = this.#buffer(channels, start - number * length, stop - number * length);
      source.connect(this.gains.get(track));
      source.start(frame / this.rate);
      return source;
    });
    this.scheduled = this.scheduled.slice(-8).concat({ frame, start, count: stop - start, sources });
    return true;
  }

  #end() {
    this.playing = false;
    this.scheduled = [];
    this.resting = 0;
    this.onend?.();
  }

  #buffer(channels, start, stop) {
    const buffer = this.context.createBuffer(channels.length, stop - start, this.rate);
    channels.forEach((samples, i) => buffer.copyToChannel(samples.subarray(start, stop), i));
    return buffer;
  }

  /** Fetches all tracks' samples of a piece: by track, an array for each channel. */
  #piece(number) {
    if (!this.pieces.has(number)) {
      const fetching = this.#fetchPiece(number);
      fetching.catch(() => this.pieces.delete(number)); // to be tried again
      this.pieces.set(number, fetching);
      if (this.pieces.size > KEPT_PIECES) this.pieces.delete(this.pieces.keys().next().value);
    }
    return this.pieces.get(number);
  }

  async #fetchPiece(number) {
    const { id, tracks, channels } = this.song;
    const query = `start=${number * this.#pieceLength}&count=${this.#pieceLength}`;
    const fetchTrack = async (track) => {
      const answer = await ask(`jobs/${id}/tracks/${encodeURIComponent(track)}/samples?${query}`);
      const samples = new Float32Array(await answer.arrayBuffer());
      const length = samples.length / channels;
      const parts = Array.from({ length: channels }, (_, i) => samples.subarray(i * length, (i + 1) * length));
      return [track, parts];
    };
    return new Map(await Promise.all(tracks.map((track) => fetchTrack(track.id))));
  }
}

function newContext(sampleRate) {
  try {
    return new AudioContext({ sampleRate });
  } catch {
    return new AudioContext(); // it converts each piece: inaudible seams, at rates few songs have
  }
}
