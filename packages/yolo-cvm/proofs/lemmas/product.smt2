; A product between two others: 0 <= i <= m gives i*s between 0 and m*s. Unbounded integers; every
; use of it is of products that a plan's checks have computed in 128 bits and found small.
(declare-const i Int)
(declare-const m Int)
(declare-const s Int)
(assert (and (<= 0 i) (<= i m)))
(assert (not (ite (< s 0) (and (<= (* m s) (* i s)) (<= (* i s) 0))
                          (and (<= 0 (* i s)) (<= (* i s) (* m s))))))
(check-sat)
