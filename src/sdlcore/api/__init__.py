"""The public interface for notebooks and scripts (`import sdlcore as sdl`): arrays in, arrays out."""
