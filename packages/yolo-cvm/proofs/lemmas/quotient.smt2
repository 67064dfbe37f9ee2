; What is at most a quotient, multiplied back: q <= k / d gives q*d <= k.
(declare-const q Int)
(declare-const k Int)
(declare-const d Int)
(assert (and (<= 0 q) (<= 1 d) (<= 0 k) (<= q (div k d))))
(assert (not (<= (* q d) k)))
(check-sat)
