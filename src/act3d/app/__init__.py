"""The local page of `act3d app`: a library of shapes in the browser."""
