"""Pictures as small networks that are fitted to each of them and travel in the file, in NumPy and C.

The design is that of Cool-chic (Ladune et al. 2023; Leguay et al. 2023) and of C3 (Kim et al. 2024): grids of latents
at 1/1 ... 1/64 of the resolution, each value coded by a context network from its decoded neighbours and the coarser
grids, upsampled by learnt filters, and turned to colours by a synthesis network.
"""
