# Runs the guest on a model and a picture that come with wasinn and with this folder; looks at the answers.
set -e
run() { ${WASINN:-wasinn} run --quiet --graph default=onnx:@digits --dir . @NAME@.wasm "$@"; }

answer=$(run seven.pgm)
case "$answer" in
    *"class 7"*"
"*) echo "ok: seven.pgm is a 7" ;;
    *) echo "failed: seven.pgm should be a 7, and is: $answer"; exit 1 ;;
esac
best=$(echo "$answer" | head -n 1)
case "$best" in
    *"class 7"*) echo "ok: and that is the best class" ;;
    *) echo "failed: the best class is $best"; exit 1 ;;
esac
if message=$(run nobody.pgm 2>&1); then
    echo "failed: a picture that is not there was no error"; exit 1
fi
case "$message" in
    *"nobody.pgm: No such file"*) echo "ok: a missing picture is named" ;;
    *) echo "failed: the error says: $message"; exit 1 ;;
esac
