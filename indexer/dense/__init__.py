"""The dense engine: which FAISS index suits the vectors, its calibration and its searches."""
