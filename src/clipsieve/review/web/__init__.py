"""The server of the page of reviewers: who may come in, what they may ask, and what they get."""
