"""LSTM, GRU and RNN: one time loop for all of them."""
