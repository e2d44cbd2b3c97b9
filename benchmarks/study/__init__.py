"""The study: MLP against LSTM, depth, and direction, on real music with one budget for all."""
