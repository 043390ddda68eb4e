for kind in path csum id; do
    ask "by $kind" $kind EACCES "$program" traced
done
