"""What an operator holds in the hand: is all well (`doctor`), what goes on (`top`), what does it bear (`load`)."""
