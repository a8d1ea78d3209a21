"""One file -> vertices and faces: meshes, VRML, point files; points on a surface."""
