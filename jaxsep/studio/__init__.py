"""The studio: a local web page that separates songs and lets one listen to the stems.

* `workspace`: the temporary folder that all of it lives in;
* `jobs`: the queue; one song at a time becomes raw samples on the disk, block by block;
* `tracks`: what the page hears and sees of them: samples, peaks, pictures;
* `downloads`: the stems as audio files;
* `guard`: who may ask; `queue_api`, `results_api`, `schemas`, `app`: the HTTP API;
* `static`: the page.
"""
