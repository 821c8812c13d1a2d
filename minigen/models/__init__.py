"""The papers: what each network must be, the losses with their equation numbers, the samplers."""
