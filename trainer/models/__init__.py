"""Models of the next action behind one interface, one model a file, baselines among them."""
