// Go lets a function have no body (endTimeWait) only in packages with assembly.
