"""From a gradient to a row on the device: the TensorFlow leg of gradwatch."""
