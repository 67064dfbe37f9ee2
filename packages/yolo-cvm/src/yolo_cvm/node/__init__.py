"""What a Cortex node asks of an inference runtime (spec: how a Cortex node calls inference).

store, stored_input     the files of a node: models and inputs by info hash
serving                 one inference or gas, in the order of checks that decides its failure
work, caches            bounded queue, parallel inference, what is kept in memory
requests                the bodies of remote inference
http, server, page      `yolo-cvm serve`
daemon, install         the process behind `libcvm_runtime.so`, and putting that file in place
"""
