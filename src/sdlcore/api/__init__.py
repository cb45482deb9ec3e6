"""What `import sdlcore as sdl` gives: the library for notebooks and scripts, arrays in and arrays out."""
