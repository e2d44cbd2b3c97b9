// Asks the studio's API.

/**
 * Sends a request and returns the answer.
 *
 * @param {string} path - of the API.
 * @param {object} [options] - of `fetch`.
 * @throws {Error} with the studio's own words if it refuses.
 */
export async function ask(path, options) {
  const answer = await fetch(`/api/${path}`, options).catch(() => {
    throw new Error("The studio doesn't answer; is it still running?");
  });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  const detail = problem.detail;
  throw new Error(typeof detail === "string" ? detail : `The studio answers ${answer.status}.`);
}

export async function askJson(path, options) {
  return (await ask(path, options)).json();
}

/** Shows what went wrong, until something else is done. */
export function tell(message) {
  const place = document.getElementById("message");
  place.textContent = message;
  for (const name of ["pointerdown", "keydown"]) {
    document.addEventListener(name, () => (place.textContent = ""), { once: true });
  }
}

/** Returns the address of something of a song. */
export function addressOf(song, rest) {
  return `/api/jobs/${song.id}/${rest}`;
}
