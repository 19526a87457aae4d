"""What Tune runs: a trial of a sweep, trained from milestone to milestone where Tune has put it."""
