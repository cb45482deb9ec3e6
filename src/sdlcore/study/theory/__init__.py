"""The paper's theorems, checked by computation, and the law of encoder rows."""
