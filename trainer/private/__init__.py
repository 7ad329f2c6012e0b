"""Differentially private training: the weights say little of any one user, by a stated bound."""
