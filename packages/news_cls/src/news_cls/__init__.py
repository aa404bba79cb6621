"""Classify news: an LSTM against a GRU and a 1D CNN, on any number of Horovod ranks."""
