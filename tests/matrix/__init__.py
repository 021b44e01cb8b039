"""The public matrix: every way Keras trains, as programs that are run unwatched, watched, spied on and with a NaN."""
