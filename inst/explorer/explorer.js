(function() {
  var binding = new Shiny.InputBinding();
  var show = function(el) { document.getElementById(el.id + '-value').textContent = el.value; };
  $.extend(binding, {
    find: function(scope) { return $(scope).find('input.explorer-range'); },
    getValue: function(el) { return parseFloat(el.value); },
    receiveMessage: function(el, data) {
      if ('max' in data) el.max = data.max;
      el.value = data.value;
      $(el).trigger('change');
    },
    subscribe: function(el, changed) {
      $(el).on('input.explorer', function() { show(el); changed(true); });
      $(el).on('change.explorer', function() { show(el); changed(false); });
    },
    unsubscribe: function(el) { $(el).off('.explorer'); },
    getRatePolicy: function() { return { policy: 'debounce', delay: 50 }; }
  });
  Shiny.inputBindings.register(binding, 'mixguide.range');
})();
// The clipboard of browsers needs a safe origin; what is selected can be copied anywhere.
function explorerCopy() {
  var code = document.getElementById('code'), said = document.getElementById('copied');
  var done = function() { said.textContent = 'Copied.'; };
  var select = function() {
    var range = document.createRange();
    range.selectNodeContents(code);
    var chosen = window.getSelection();
    chosen.removeAllRanges();
    chosen.addRange(range);
    if (document.execCommand('copy')) done(); else said.textContent = 'Selected: press Ctrl+C.';
  };
  if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(done, select);
  else select();
}
