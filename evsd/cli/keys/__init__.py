"""evsctl key: a module for each thing one does with CMKs; `group` has them together."""
