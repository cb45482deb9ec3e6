import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.random_streams import stream
from sdlstudy.rendering.space import VIEW, open_view


def worst(view, directions):
    """Return the largest |cosine| of a direction with the line of sight."""
    elevation, azimuth = np.radians(view)
    sight = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    return np.abs(sight @ directions).max()


@given(seed=st.integers(0, 1000), n=st.integers(1, 12))
def test_the_open_view_hides_no_direction_more_than_the_usual_one(seed, n):
    directions = stream(seed).standard_normal((3, n))
    directions /= np.linalg.norm(directions, axis=0)
    view = open_view(directions)
    assert view[0] == VIEW[0]
    assert worst(view, directions) <= worst(VIEW, directions) + 1e-9


def test_what_points_at_the_reader_is_turned_aside():
    elevation, azimuth = np.radians(VIEW)
    sight = [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
    assert worst(open_view(np.array([sight]).T), np.array([sight]).T) < 0.2
