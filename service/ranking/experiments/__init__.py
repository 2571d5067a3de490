"""Experiments: layers of arms, who is in which, and what an arm changes.

The words are those of Tang, Agarwal, O'Brien and Meyer, "Overlapping Experiment Infrastructure: More, Better, Faster
Experimentation", KDD 2010 (https://research.google/pubs/pub36500/): a layer splits its units among experiments, layers
split independently of each other, and a layer may live within one arm of another, its domain. As there, two layers
never change the same thing for the same unit.
"""
