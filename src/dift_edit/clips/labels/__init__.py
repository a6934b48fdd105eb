"""Labels and keypoints of one frame, carried to the other frames of a sequence by feature affinity.

The method is the one of the DIFT paper (and of the video evaluations before it): every cell of a new frame takes the
mean of the labels of the most similar cells near it in the first frame and in the last few frames, weighted with
exp(cosine / temperature). Memory is bounded: only the last frames are kept, and affinities are computed tile by tile.

References
----------
Jabri et al., Space-Time Correspondence as a Contrastive Random Walk, NeurIPS 2020, section 3.4.
Tang et al., Emergent Correspondence from Image Diffusion, NeurIPS 2023, section 6.2.
"""
