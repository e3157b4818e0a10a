# echo.big [BYTES]: a text of so many letters x, 1048576 if it is not told otherwise.
bytes=${2-1048576}
case $bytes in
  '' | *[!0-9]*)
    printf '{"error":true,"message":"the size must be a number of bytes","code":"BAD_SIZE"}\n'
    exit 1
    ;;
esac
head -c "$bytes" /dev/zero | tr '\0' x
