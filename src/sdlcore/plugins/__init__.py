"""Activations, loss terms, solvers, metrics and sources of other people's modules (plugins).

A plugin is a module that calls our decorators, such as `sdlcore.activation`. A configuration names it under
``plugins``, a notebook imports it, and an installed package has an entry point in the group ``sdlcore.plugins``.
"""
