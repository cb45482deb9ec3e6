"""Find a dictionary in a call: `sdlcore.fit`, `sdlcore.fit_many` and `sdlcore.solve`."""
