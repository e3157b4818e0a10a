# echo.ping, by a process that lives as long as the container: one request per line in, one answer
# per line out. The request's own id comes before all that a caller can write.
match($0, /"id":"[^"]*"/) {
    printf "{%s,\"response\":\"pong\"}\n", substr($0, RSTART, RLENGTH)
    fflush()
}
