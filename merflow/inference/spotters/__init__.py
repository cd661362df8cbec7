"""Systems that spot expressions in long videos; each is fitted on the videos of other people."""
