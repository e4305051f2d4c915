"""Fusions compared in one harness: the same encoder, decoder, recipe and evaluator for all.

``variants`` says what is compared, ``plan`` what all runs share and where things lie, ``data`` on
which images they are trained and tested, ``runs`` does one run, ``schedule`` does them all,
``collect`` gathers what ``report.fusions`` makes a table of. Only ``runs`` needs torch.
"""
