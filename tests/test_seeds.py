"""Seeds of random streams: by name, stable, apart."""

from tfrcnn.seeds import stream_seed


def test_the_seed_of_a_stream_is_the_same_on_every_machine():
    assert stream_seed(0, "rpn_samples") == 122750990
    assert stream_seed(2**30 - 1, "roi_samples") == 542838695


def test_streams_and_seeds_are_apart_and_fit_int32():
    seeds = {
        stream_seed(seed, name) for seed in range(1000) for name in ("rpn_samples", "roi_samples", "horizontal_flip")
    }
    assert len(seeds) == 3000
    assert min(seeds) >= 0
    assert max(seeds) < 2**31
