"""The studio: a local web page that separates songs and lets one listen to the stems.

* `workspace`: the temporary folder that all of it lives in;
* `models`: the separators, a few of them in memory;
* `jobs`: a song and what has become of it; `queue`: songs wait, and one is separated at a time;
* `separation`: it becomes raw samples on the disk, block by block; `examples`: the band's songs;
* `memory`: what the C library keeps of it;
* `tracks`: what the page hears and sees of them: samples, peaks, pictures;
* `downloads`: the stems as audio files;
* `guard`: who may ask; `connections`: how long one may say nothing;
* `queue_api`, `results_api`, `schemas`, `app`: the HTTP API;
* `static`: the page.
"""
