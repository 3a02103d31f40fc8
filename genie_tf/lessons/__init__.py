"""The figures of the notebooks, a module for each notebook. Every function draws one figure from a recording or a trained world."""
