"""Actors of continuous control, and the critics that judge them; only the learner has those."""
