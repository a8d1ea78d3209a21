"""ACT's arithmetic written the plain way, in the released code's own parameter names.

1x1 convolutions over channel-first tensors, features repeated to every point, graph edges materialised in every layer,
one-hot codes times the codebook, prompts carried through the blocks, boolean masks, broadcast distances. Nothing in
`src/` imports this: the tests prove the fast forms equal to it, and the benchmarks measure them against it.
"""
